"""From a trained model to what other runtimes take."""
