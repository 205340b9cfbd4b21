"""From a corpus on disk to manifests: readers, the text normaliser, who is labelled and who is held out."""
