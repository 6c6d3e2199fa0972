"""What an endpoint's error means: codes, texts, hints, and what must not be repeated of it. No I/O."""
