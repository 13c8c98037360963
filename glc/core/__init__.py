"""The method itself, in torch, numpy, scipy and scikit-learn: usable alone, in anybody's training loop."""
