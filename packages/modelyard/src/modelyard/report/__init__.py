"""Write the verdict of the gate as a page for people, and the model card."""
