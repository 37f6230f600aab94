"""camgate.data"""
