"""Train DPA-2 on many datasets at once: mixtures of energy and denoise heads, fine-tuning, distillation, DeePMD-kit's files."""
