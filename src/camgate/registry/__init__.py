"""camgate.registry"""
