"""camgate.materializers"""
