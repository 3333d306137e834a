# ENV: IIB_LISTEN=nowhere
# IIB_LISTEN: ERROR: Invalid address
