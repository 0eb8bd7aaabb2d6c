"""The stages of training, and the reconstruction and plots that they use."""
