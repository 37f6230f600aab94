"""camgate.gate"""
