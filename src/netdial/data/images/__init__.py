"""Image data sets read from files: MNIST and CIFAR-10, in the layouts that people have on disk."""
