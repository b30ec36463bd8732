"""Single checks of the quality of data, which `drift` combines under one false-alarm budget."""
