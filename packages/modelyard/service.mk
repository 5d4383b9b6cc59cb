# The verbs of a project that ships a service: project.mk includes this file where there is a compose.yaml.

## Serve
serve: environment ## Answer over HTTP on BIND (default: 127.0.0.1:8000)
	$(RUN)

image: environment ## Build the model's image, and push it to REPOSITORY if there is one
	$(RUN)

deploy: environment ## Make ENV run what deploy/<ENV>.yaml says, step by step
	$(RUN)

rollback: environment ## Make ENV run what ran before
	$(RUN)
