"""From a model, a graph and audio to hypotheses."""
