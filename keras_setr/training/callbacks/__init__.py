"""What `ks.callbacks` puts around `fit`: measures, logs, stops."""
