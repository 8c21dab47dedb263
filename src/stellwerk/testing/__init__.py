"""The test kit that ships with the package: contract suites and simulators. The product never imports it."""
