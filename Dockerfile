# One image for worker, beat and Flower: which one it is, the command says.
FROM python:3.12-slim
RUN useradd --create-home collection
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY collection collection
COPY workers workers
COPY beat_schedule beat_schedule
RUN pip install --no-cache-dir -c constraints.txt .
USER collection
# The feeds file and collection.toml are mounted here.
WORKDIR /etc/collection
CMD ["celery", "-A", "workers", "worker", "-Q", "polls,control,backfill,quotes", "-l", "info"]
