/* chan_pingpong.c — a value goes to and fro over two channels without a buffer, in --width pairs
 * (default 1); per send with its receive. */
#include "micro.h"

#include "sync/channel.h"

enum { MESSAGES = 500000 };

struct side {
    struct tc_channel *in;
    struct tc_channel *out;
    uint32_t rounds;
    bool begins;
};

static void play(void *arg)
{
    struct side *side = arg;
    struct tc_value value = tc_value_int(0);

    for (uint32_t i = 0; i < side->rounds; i++) {
        if (side->begins) {
            micro_check(tc_channel_send(side->out, value, TC_NEVER), "tc_channel_send");
        }
        micro_check(tc_channel_recv(side->in, &value, TC_NEVER), "tc_channel_recv");
        value.as_int++;
        if (!side->begins) {
            micro_check(tc_channel_send(side->out, value, TC_NEVER), "tc_channel_send");
        }
    }
}

static void body(struct micro *micro)
{
    static struct side sides[MICRO_WIDTH_MAX][2];
    static struct tc_channel channels[MICRO_WIDTH_MAX][2];
    struct tc_fiber *fibers[MICRO_WIDTH_MAX][2];

    for (uint32_t i = 0; i < micro->width; i++) {
        for (uint32_t j = 0; j < 2; j++) {
            micro_check(tc_channel_init(&channels[i][j], 0, NULL), "tc_channel_init");
            sides[i][j] = (struct side){&channels[i][j], &channels[i][1 - j],
                                        MESSAGES / 2 / micro->width, j == 0};
        }
        for (uint32_t j = 0; j < 2; j++) {
            fibers[i][j] = micro_spawn(micro, play, &sides[i][j]);
        }
    }
    for (uint32_t i = 0; i < 2 * micro->width; i++) {
        micro_join(fibers[i / 2][i % 2]);
    }
    for (uint32_t i = 0; i < 2 * micro->width; i++) {
        tc_channel_fini(&channels[i / 2][i % 2]);
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {
        .name = "chan_pingpong", .operations = MESSAGES, .body = body, .width = 1};

    return micro_main(argc, argv, &micro);
}
