"""camgate.models"""
