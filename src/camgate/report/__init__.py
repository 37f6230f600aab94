"""camgate.report"""
