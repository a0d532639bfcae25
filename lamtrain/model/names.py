"""The names of a model's tensors, in one place: what `LamModel.state_dict()` holds.

Matrices are stored (in, out). E elements, T = E + 1 types (the last one hidden), t = tebd_dim, a = g1_dim, p = g2_dim,
h heads of an attention, q its hidden width, x the axis. A name in [ ] exists only with the option beside it.

    descriptor.type_embedding.weight                   (E, t), or (118, t) with use_econf_tebd
    descriptor.type_embedding.masked                   (t,)
    descriptor.type_embedding.[bias]                   (t,) use_tebd_bias
    descriptor.B.environment.{mean,std}                (T, 4) buffers of blocks B = repinit, [three_body], repformer; of DPA-1 se_atten
    descriptor.B.embedding.layers.K.{weight,bias,[dt]} B = repinit, [three_body]; se_atten; dt with resnet_dt
    descriptor.B.embedding.[type_layers].K...          tebd_input_mode strip
    descriptor.se_atten.{nodes,[factors],[padding]}    buffers of a compressed DPA-1, in place of its embedding (dpa1_table.py)
    descriptor.[shape_transform].weight                (repinit + three-body, a), unless the widths are equal
    descriptor.[tebd_transform].weight                 (t, a) add_tebd_to_repinit_out
    descriptor.repformer.g2_embedding.{weight,bias}    (1, p)
    descriptor.repformer.layers.L.
        linear1.{weight,bias}                          ([a] + [p] + x p + x a, a): [g1, conv, grrg, drrd] as far as they are on
        [self_mlp].{weight,bias}                       (a, a) g1_out_mlp
        [conv].weight                                  (p, a) with g1_out_conv, else (a, p); update_g1_has_conv
        [local_attention].query.weight                 (a, q h), heads fastest; update_g1_has_attn
        [local_attention].key_value.weight             (a, (q + a) h), heads fastest, keys first
        [local_attention].head_map.{weight,bias}       (a h, a), heads slowest
        [linear2].{weight,bias}                        (p, p); this and all below: not in the last layer
        [g1g1].weight                                  (a, p) update_g2_has_g1g1
        [pair_weights].query_key.weight                (p, q 2h), heads fastest, queries first; update_g2_has_attn or update_h2
        [pair_attention].value.weight                  (p, p h), heads fastest; update_g2_has_attn
        [pair_attention].head_map.{weight,bias}        (p h, p), heads fastest
        [pair_attention].norm.{weight,bias}            (p,)
        [vector_attention].head_map.weight             (h, 1) update_h2
        [g1_residual].scale.{self,conv,linear,attn}    (a,) update_style res_residual, and the term is on
        [g2_residual].scale.{linear,g1g1,attn}         (p,)
        [h2_residual].scale.attn                       (1,)
    heads.H.layers.K.{weight,bias,[dt]}                energy head H
    heads.H.last.{weight,bias}                         (width, 1)
    heads.H.bias                                       (T,) float64 buffer, reference energies, eV
    heads.H.case                                       (dim_case_embd,) buffer, one-hot among the sorted energy heads
    heads.H.{pair_hidden,pair_out}.{weight,bias}       denoise head H
    heads.H.{type_hidden,type_norm,type_out}.{weight,bias}
"""
