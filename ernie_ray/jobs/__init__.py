"""What runs on a Ray cluster, one verb a file: features, finetune, export, predict, evaluate.

Wires the parts below to Ray Data and Ray Train. Starts no Ray: the command line does.
"""
