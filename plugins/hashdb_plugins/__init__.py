"""The methods, quantisers and encoders that ship with hashdb; they come in by entry point like anyone's."""
