# Run as root in a clean root of Debian, by `cargo xtask deb --prove`. Its argument is the suite.
set -eux
suite=$1
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -q
echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/90yes

# There is no systemd at work in a chroot: the server is started by what stands in for it.
cat > /usr/local/bin/systemctl <<'END'
#!/bin/sh
set -eu
case "$1 $2" in
'start mariadb')
    install -d -o mysql -g mysql /run/mysqld
    mariadbd-safe --user=mysql > /dev/null 2>&1 &
    i=0
    while ! mariadb-admin ping > /dev/null 2>&1; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done ;;
'stop mariadb')
    mariadb-admin shutdown
    while [ -e /run/mysqld/mysqld.pid ]; do sleep 0.1; done ;;
'enable --now') echo "enabled $*" >> /opt/enabled ;;
*) echo "systemctl: $*" >&2; exit 1 ;;
esac
END
chmod 755 /usr/local/bin/systemctl

cd /opt
apt-get install -y -q --no-install-recommends mariadb-server
systemctl start mariadb
mariadb -e 'CREATE DATABASE shop; USE shop; CREATE TABLE t (a INT PRIMARY KEY, b TEXT); INSERT INTO t SELECT seq, REPEAT(seq, 20) FROM seq_1_to_10000'
before=$(mariadb -N -e 'CHECKSUM TABLE shop.t')

# The README's commands, as they are printed.
sh first-backup.sh
mariadb -e 'DROP TABLE shop.t'
sh first-restore.sh
[ "$(mariadb -N -e 'CHECKSUM TABLE shop.t')" = "$before" ]

# As the user of the package, in the server's group.
usermod -aG mysql reseed
systemctl stop mariadb
export UMASK_DIR=0750
chmod g+rx /var/lib/mysql/*/
systemctl start mariadb
chown -R reseed: /backup /etc/reseed/db1.cnf
setpriv --reuid=reseed --regid=reseed --init-groups reseed backup --name db1
setpriv --reuid=reseed --regid=reseed --init-groups reseed verify --name db1 latest --pages
install -d -o reseed -g reseed /srv/elsewhere
setpriv --reuid=reseed --regid=reseed --init-groups reseed restore --name db1 latest --datadir /srv/elsewhere/data
[ -s /srv/elsewhere/data/shop/t.ibd ]
# ... and by the one capability, where the group has no rights.
gpasswd -d reseed mysql
chmod go-rx /var/lib/mysql/*/
setpriv --reuid=reseed --regid=reseed --init-groups --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
    --bounding-set=-all,+dac_read_search reseed backup --name db1
chown -R root: /backup /etc/reseed/db1.cnf

# What is installed.
man_pages=$(dpkg -L reseed | grep -c '/man[15]/')
[ "$man_pages" -ge 18 ]
for page in $(dpkg -L reseed | grep '/man[15]/.*gz'); do gzip -t "$page"; done
dpkg -L reseed | grep -q bash-completion/completions/reseed
reseed --version
[ "$(stat -c %a /usr/bin/reseed)" = 755 ]

# The units.
apt-get install -y -q --no-install-recommends systemd
mv /usr/local/bin/systemctl /opt/systemctl
for verb in backup verify expire; do
    systemd-analyze verify --man=no /usr/lib/systemd/system/reseed-$verb@.service /usr/lib/systemd/system/reseed-$verb@.timer > verified 2>&1 ||
        { cat verified; exit 1; }
    grep reseed verified && exit 1
    systemd-analyze security --offline=true --threshold=29 /usr/lib/systemd/system/reseed-$verb@.service > exposure
    tail -n 1 exposure
done
mv /opt/systemctl /usr/local/bin/systemctl

# lintian, where it knows the newest policy.
if [ "$suite" = trixie ]; then
    apt-get install -y -q --no-install-recommends lintian
    lintian --fail-on error --tag-display-limit 0 --allow-root reseed.deb
fi

# An upgrade over a configuration that was changed, and whose packaged text changed too.
dpkg-deb -R reseed.deb newer
sed -i 's/^Version:.*/Version: 99.0-1/' newer/DEBIAN/control
echo '# a newer text' >> newer/etc/reseed/reseed.toml
(cd newer && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | xargs md5sum > DEBIAN/md5sums)
dpkg-deb -b newer newer.deb
find /backup -type f | sort | xargs md5sum > /opt/sets
dpkg --force-confold -i newer.deb
grep -q '^\[server\."db1"\]' /etc/reseed/reseed.toml
[ -e /etc/reseed/reseed.toml.dpkg-dist ]
reseed check --name db1 --age 1h

# Removed and purged; sets and accounts stay.
apt-get remove -y -q reseed
grep -q '^\[server\."db1"\]' /etc/reseed/reseed.toml
dpkg --purge reseed
[ ! -e /etc/reseed/reseed.toml ]
[ ! -e /usr/bin/reseed ]
[ -e /etc/reseed/db1.cnf ]
find /backup -type f | sort | xargs md5sum | cmp - /opt/sets
mariadb-admin shutdown
