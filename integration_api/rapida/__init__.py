"""The mirror of Rapida's UnifiedProviderService, whole: deletable in one piece."""
