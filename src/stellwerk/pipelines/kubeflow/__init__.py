"""Plans as pipelines of Kubeflow: a plan becomes the intermediate representation that its SDK would have compiled.

Standard library only. What a pod does with it is in `stellwerk.workspace.steps`.
"""
