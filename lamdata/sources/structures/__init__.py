"""Collections of structures without labels: crystal databases and the files of structure searches."""
