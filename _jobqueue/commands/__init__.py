"""The command line: ``python jobqueue.py VERB``. A file for each group of verbs; two back ends, Redis and HTTP, behind one face."""
