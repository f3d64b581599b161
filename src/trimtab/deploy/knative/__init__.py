"""The Knative target: functions on a cluster, as plain objects that anybody can read and apply."""
