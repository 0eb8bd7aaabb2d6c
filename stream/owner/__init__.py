"""What only the owner of a camera may see: raw events beside what is published, and the view of the camera."""
