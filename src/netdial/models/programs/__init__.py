"""A member as a program: ``torch.export`` (``.pt2``) and ONNX, with a batch of any size."""
