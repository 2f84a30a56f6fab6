"""A one-process EC2 region: moto behind a strict gateway, IMDSv2, a load balancer, and machines that follow the API.

Nothing in here is imported by the product; the product only meets it over HTTP.
"""
