"""Voice agents speak through the service: Pipecat's and LiveKit's newest, beside us in one environment."""
