#!/bin/sh
# Stands for make on a test host: builds modules with the real one, once for each source, kernel and place, and has the
# same files there again at the next call. Everything but the building of kernel modules goes to the real one.
kernel=$(printf '%s\n' "$@" | sed -n 's,^SYSOUT=,,p;s,^KERNEL_UNAME=,,p' | head -1)
[ -n "$kernel" ] && case " $* " in *" clean "*) false ;; esac || exec /usr/bin/make.real "$@"
key=$({
    pwd
    printf '%s\n' "$@" | grep -v '^-j'
    find . /usr/src/linux-headers-*-common/include/linux/module.h -type f ! -name '*.log' | sort | xargs sha256sum
} | sha256sum | cut -c 1-16)
kept=/opt/stock/built/$key
if [ -e "$kept" ]; then
    cp -a "$kept/." .
    exit 0
fi
/usr/bin/make.real "$@"
status=$?
if [ $status = 0 ]; then
    mkdir -p /opt/stock/built
    rm -rf "$kept.new"
    cp -a . "$kept.new" && mv "$kept.new" "$kept"
fi
exit $status
