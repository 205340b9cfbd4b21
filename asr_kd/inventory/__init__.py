"""The classes that frames are scored over: lexicon, decision tree and senones."""
