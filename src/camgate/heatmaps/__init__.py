"""camgate.heatmaps"""
