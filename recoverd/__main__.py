"""`python -m recoverd` is `recoverd`."""

from recoverd.cli.daemon import main

if __name__ == "__main__":
    main()
