"""Transfer: how far a model carries over to data that it was not trained on, before and after a fine-tune, beside a model from scratch."""
