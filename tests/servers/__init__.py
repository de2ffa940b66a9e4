"""Redis in other forms: replicas, Sentinel, Cluster, other versions."""
