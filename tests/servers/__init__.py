"""Object stores on loopback, and a proxy that makes them far away or unreliable."""
