"""What utterances without text are like: measures of them as columns of their manifest."""
