"""Plugins by which voice agents ask chat models through the service: `pipecat` for Pipecat, `livekit` for LiveKit.

Each imports its framework, so that either works where the other is not installed. Copy the folder into an agent's code.
"""
