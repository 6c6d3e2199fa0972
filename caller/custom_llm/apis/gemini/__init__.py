"""Google's Gemini API. No I/O."""
