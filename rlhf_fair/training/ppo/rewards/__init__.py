"""What a policy is paid: models, functions, rulers and servers, weighed and added up."""
