"""The command line for `spark-submit`, which takes no file that doesn't end in .py.

spark-submit --master spark://HOST:7077 jobs/propensity_job.py score --as-of 2017-11-01 --engine spark
"""

from propensity.cli import main

if __name__ == "__main__":
    main()
