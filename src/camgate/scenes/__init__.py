"""camgate.scenes"""
