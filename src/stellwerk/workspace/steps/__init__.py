"""One task of a plan by itself: in a pod, a job of CI, or on the machine of somebody who wants to know why it failed."""
