"""Runs shown in TensorBoard, Weights & Biases and Trackio, as they go on. The run folder stays what counts."""
