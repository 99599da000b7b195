"""The fixed lists of packages that corpora are made of: Debian's by name, wheels by name and version."""

__all__ = ["MAN_PAGES", "PYTHON_WHEELS", "RFC_PACKAGES"]

# Packages of Debian main with manual pages: from many sources, so that splits by source are balanced.
MAN_PAGES = tuple(
    """
    acl aircrack-ng alsa-utils apache2-bin apache2-utils apertium apparmor-utils apt apt-utils atfs atm-tools attr
    auditd autoconf autogen automake avahi-utils ax25-tools bash bcftools bibutils bind9-dnsutils bind9-utils bioperl
    bison bluez borgbackup-is-borgbackup2 bridge-utils bsdextrautils bsdutils btrfs-progs byobu bzip2 can-utils
    certmonger collectd-core coreutils cron cryptsetup-bin cscope csvkit cups-client curl cvsps dash datalad dazzdb
    dbus-bin dcmtk debhelper debian-goodies devscripts diffutils dist dnf-plugins-core dnsmasq-base docbook2x dosfstools
    dpkg-dev e2fsprogs ecaccess ecryptfs-utils emboss ethtool exim4-base expect exuberant-ctags fastaq fdisk
    fence-agents fetchmail findutils fio flex freeradius-common ganeti gawk gbutils gcin gdal-bin gdisk genisoimage
    geotiff-bin gfarm-client ghostscript git-extras git-man gmerlin gmt gnupg gnuplot-nox golang-go gpgsm gpgv
    gpsd-clients grace graphviz grep gridengine-common groff-base guilt gzip hdf4-tools hdf5-tools hdparm
    heimdal-clients help2man hime-data hmmer hostapd html-xml-utils hxtools i2c-tools imagemagick-6.q16 indent
    infiniband-diags inn2 iperf3 ipmctl ipmiutil iproute2 iptables isc-dhcp-client isc-dhcp-server jackd2 kbd keyutils
    kmod krb5-admin-server krb5-user ksh93u+m ldap-utils ldapscripts ldnsutils lei less libtool libvirt-clients
    libxml2-utils lintian lirc llvm lm-sensors login ltrace lua5.4 lvm2 m4 make man-db mandoc manpages manpages-dev
    mariadb-client-core mblaze mcl mdadm mdbtools mgetty-pvftools mipe mjpegtools monit moreutils mount mtools mtp-tools
    mtr-tiny murasaki-common nano ncurses-bin ndctl netcat-openbsd netcdf-bin netpbm nfs-common nftables ntfs-3g
    nvme-cli ola open-infrastructure-compute-tools openmpi-bin opensc openssh-client openssh-server openssl openvpn
    ostree parted pass passwd patchutils pbuilder pciutils perl pfstools pg-auto-failover-cli pkg-perl-tools pkgconf
    plotutils pmtools policycoreutils poppler-utils ppp procmail procps proj-bin psmisc psutils ptscotch
    pulseaudio-utils puppet-agent qemu-utils quilt quota rancid rcs redis-tools reprepro rrdtool rsync ruby3.1
    samba-common-bin samtools sbuild schroot screen sed selinux-utils sfeed sg3-utils shorewall sim4db slapd sleuthkit
    sloccount slony1-2-bin slurm-client smartmontools smbclient smp-utils snmp socat sox speech-tools splint sqlite3
    squashfs-tools srecord stilts strace subversion suckless-tools sysstat systemd tar tcl8.6-doc tcpdump tcsh texify
    timewarrior tk8.6-doc tmux tpm-tools trace-cmd traceroute tshark tss2 ubuntu-dev-tools unoconv usbutils util-linux
    vcftools vde2 vim-common wget wimtools wireguard-tools wireshark-common wpasupplicant x11-utils x11-xserver-utils
    xfsprogs xmlto xorriso xsltproc xterm xz-utils zplug zsh
    """.split()
)

# Pure Python wheels under permissive licences, most of whose modules have docstrings.
PYTHON_WHEELS = tuple(
    """
    accelerate==1.15.0 altair==6.3.0 arviz==0.23.4 bandit==1.9.4 beautifulsoup4==4.15.0 black==26.10.1 bokeh==3.9.2
    celery==5.7.0 chempy==0.10.2 cherrypy==18.10.0 cirq-core==1.7.0 coverage==7.17.4 dask==2026.8.0 diffusers==0.42.1
    dill==0.4.1 distributed==2026.8.0 django==5.2.19 dnspython==2.9.2 docutils==0.23 eventlet==0.41.3 flake8==7.5.0
    flax==0.12.8 fonttools==4.68.0 google-auth==2.63.0 gunicorn==27.0.1 h2==4.4.1 ipython==9.18.1 isort==9.0.2
    jedi==0.20.1 jinja2==3.1.6 joblib==1.6.0 jupyter-client==8.10.0 keras==3.15.1 kombu==5.7.0 lark==1.3.1 luigi==3.8.1
    markdown==3.11.3 marshmallow==4.4.0 meson==1.12.1 mido==1.3.3 mpmath==1.4.1 mypy==2.4.1 nbconvert==7.17.2
    nbformat==5.11.1 networkx==3.6.1 nikola==8.3.3 nltk==3.10.4 nox==2026.10.20 oauthlib==4.0.1 openpyxl==3.1.5
    optax==0.2.8 packaging==26.3 passlib==1.7.4 peft==0.21.2 pennylane==0.45.1 pexpect==4.9.0 pip==26.3
    prompt-toolkit==3.0.53 pydantic==2.14.4 pygments==2.21.0 pymatgen==2026.10.24 pyomo==6.10.1 pypdf==7.1.1
    pytest==9.2.0 pytorch-lightning==2.6.6 rdflib==7.6.0 reportlab==5.1.0 requests==2.34.2 scons==4.11.1 scrapy==2.19.0
    seaborn==0.13.2 setuptools==84.2.1 simpy==4.1.2 skorch==1.4.0 sphinx==9.0.4 sqlalchemy==2.1.9 sympy==1.14.0
    textual==8.2.8 tox==4.67.15 traitlets==5.16.1 transformers==5.24.0 trio==0.35.0 twine==7.0.0 twisted==26.10.0
    virtualenv==21.15.11 werkzeug==3.1.9 xarray==2026.9.0
    """.split()
)

# Standards, proposed standards, best practice and experiments; the others are drafts, history and translations.
RFC_PACKAGES = ("doc-rfc-std", "doc-rfc-std-proposed", "doc-rfc-experimental", "doc-rfc-fyi-bcp")
