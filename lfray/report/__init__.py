"""From a front to what people read: figures and one self-contained page."""
