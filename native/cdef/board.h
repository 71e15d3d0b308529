/* Domain0 on the board: native/board.h. */
int xp_domain0_publish(struct xp_hv *hv, uint16_t reader, const char *key, const uint8_t *value, uint32_t len);
