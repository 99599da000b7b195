"""The fixed lists of packages that corpora are made of: Debian's by name, wheels by name and version."""

__all__ = ["MAN_PAGES", "PYTHON_WHEELS", "RFC_PACKAGES"]

# Packages of Debian main with manual pages: some hundred large ones, and of every other source of Debian 12 that has a
# package of at most 300 kB with three pages or more in sections 1 and 5 to 8, the one with most of them.
MAN_PAGES = tuple(
    """
    4ti2 9mount a2jmidid a56 abpoa accel-config acct ace-of-penguins acl acr addresses-goodies-for-gnustep adduser
    adns-tools advancecomp aegean aephea aewan aewm++-goodies afflib-tools aircrack-ng airspy airspyhf alevt alfred
    alsa-utils alure-utils ample amqp-tools amtterm analizo and ann-tools aoetools ap-utils apache2-bin apache2-utils
    apcupsd apertium apophenia-bin apparmor-utils apsfilter apt apt-dater apt-utils aravis-tools arch-install-scripts
    arden arj arptables arpwatch asn1c aspectj aspell astropy-utils at atfs atm-tools atool atop atril attr
    aubio-tools audiolink auditd augeas-tools aumix-common autoconf autoconf-dickey autoconf2.13 autoconf2.69 autofs
    autogen automake autopkgtest autossh autotools-dev avahi-utils avarice aview awesfx awffull ax25-apps ax25-tools
    ax25mail-utils ayatana-webmail babeltrace2 backintime-common backup-manager backupninja bacula-sd bamkit
    bandwidthd barman-cli-cloud basez bash battery-stats bcache-tools bcftools bcron beancount bibutils biff
    bilibop-common bin86 bind9-dnsutils bind9-utils binfmtc bio-rainbow bio-tradis biometric-utils bioperl bioperl-run
    biosig-tools biosquid bip bison blackbox bladerf blaeu blazeblogger blends-common bluemon bluez bluez-tools
    bogl-utils bogofilter-bdb bonnie++ bootcd booth bootp bootparamd borgbackup-is-borgbackup2 borgmatic bpm-tools
    bpython brazilian-conjugate bridge-utils bro-aux bsdextrautils bsdowl bsdutils btrbk btrfs-progs buildstream
    bup-doc busybox-syslogd bvi byobu byzanz bzip2 bzip3 c-icap caca-utils cado caffeine caja-actions can-utils
    canlock canna-utils capnproto caspar catdoc cbmconvert cclib ccrypt ccze cdebconf cdrdao cdtool cedar-backup3
    ceferino certbot certmonger cfingerd cg3 cgroup-tools chado-utils chake changeo chaos-marmosets
    charliecloud-runtime check-postgres checksecurity chiark-scripts chip-seq chkboot chktex chntpw chronicle chrony
    cifs-utils clamav-daemon clang-format-13 clang-format-14 clang-format-15 clang-format-16 clang-format-19
    clc-intercal clevis-luks clex cli-common-dev cloop-utils cloud-image-utils cluster-glue clustershell clusterssh
    cmake-format cmus cobertura codec2 codonw coinor-csdp collectd-core colord colorized-logs colormake colortest
    comitup compiz-boxmenu conman conserver-server console-cyrillic console-setup cookietool coqprime-tools coreutils
    corosync-qdevice courier-authlib-userdb courier-base cowdancer cpl-plugin-amber-doc cpl-plugin-giraf-doc
    cpl-plugin-hawki-doc cpl-plugin-muse-doc cpl-plugin-naco-doc cpl-plugin-uves-doc cpl-plugin-vimos-doc
    cpl-plugin-visir-doc cpmtools cpu cpufreqd cpufrequtils cpuset cracklib-runtime crashmail createrepo-c crip
    criticalmass cron cronutils cryptmount cryptominisat cryptsetup-bin csb cscope cstocs csvkit cuetools cups-client
    curl cutils cvm cvs-buildpackage cvs-fast-export cvsd cvsps cwm cyclades-serial-client cyrus-clients daemontools
    dailystrips daligner dapl2-utils dascrubber dash datalad dateutils davfs2 davix dazzdb db-util db5.3-util dbus-bin
    dcmtk dcraw dctrl-tools ddpt ddrutility ddupdate debconf debdelta debhelper debian-edu-config debian-goodies
    debiandoc-sgml debianutils debsigs debspawn debugedit debvm deepin-gettext-tools delta deltarpm desktop-file-utils
    desproxy detox device-tree-compiler devscripts devtodo dextractor dfu-util dgit dh-autoreconf dh-di dh-dist-zilla
    dh-exec dh-lua dh-make-perl dh-nodejs dh-ocaml dh-octave dh-perl6 dh-python dh-raku dhcpcd-base dhcpy6d dhex dicod
    dict dictionaries-common diffutils digikam digitemp diod dirb directvnc dirvish discount discover dislocker
    display-dhammapada dist distcc distro-info distrobox djbdns-utils djvulibre-bin dkim-rotate dl10n dlm-controld
    dlocate dlt-tools dma dmidecode dmktools dmtx-utils dnf dnf-plugins-core dnsdiag dnsmasq-base dnsperf
    dnssec-trigger docbook-to-man docbook-utils docbook2x docutils-common dolfin-bin dosfstools downtimed dpkg-dev
    dpkg-www dpo-tools dput dput-ng dqcache draai dradio drc drool dropbear-bin drslib drumstick-tools dsdp dsniff
    dssi-utils dte dump dunst duperemove dupload dvb-tools dvbstream dvd+rw-tools dvd-slideshow dvdauthor dvi2ps dvtm
    dwm dwww dzen2 e2fsprogs e2tools e3 ea-utils eb-utils ebtables ecaccess ecatools ecdsautils ecopcr ecryptfs-utils
    editorconfig eegdev-plugins-free efax efibootguard efitools ekeyd elastalert elasticsearch-curator email-reminder
    embassy-domainatrix embassy-domalign embassy-domsearch emboss emu8051 erofs-utils esekeyd esmtp-run ethtool
    eukleides eurephia evemu-tools evince exfatprogs exiftags exim4-base expect expeyes-doc-common extra-cmake-modules
    extsmail exuberant-ctags ezstream eztrace f2fs-tools f3 fabio-viewer fai-client fair fairymax fakeroot fapolicyd
    farbfeld fastaq fastdds-tools fastforward fastlink fasttree fbset fcitx-tools fcode-utils fcoe-utils fdisk
    feed2imap feedbackd fence-agents fetchmail ffado-tools ffindex ffproxy fhist fido2-tools fig2ps figlet filtergen
    filters findutils finit-sysv fio firehol-tools-doc fiu-utils flactag flam3-utils flex flex-old flip flite
    flowgrind fltk1.1-games fntsample fondu fontforge-extras foomatic-db-engine foomatic-filters foot fortune-mod
    fosfat fprintd freecdb freecell-solver-bin freedink-engine freedom-maker freeipa-client freeipmi-ipmidetect
    freeradius-common freetds-bin freetype2-demos frog fstrm-bin fsvs ftpcopy ftpd-ssl ftpsync funtools fuse
    fuse-emulator-utils fuse3 fuseext2 fvwm1 fweb fwlogwatch gambas3-devel gambc gamemode gammu-smsd ganeti
    ganglia-monitor garmin-forerunner-tools gasic gawk gbatnav gbsplay gbutils gcc gcc-alpha-linux-gnu
    gcc-mips-linux-gnu gcin gcpegg gdal-bin gdbmtool gdisk gegl gem2deb genisoimage gensio-bin genwqe-tools
    geographiclib-tools geotiff-bin germinate gerris getmail6 gettext-base gfal2-util-scripts gfarm-client gff2aplot
    gforth gfs2-utils gfsecret gfsview gfxboot-dev ghostscript giflib-tools gifsicle gigtools git-buildpackage-rpm
    git-extras git-man git-pw git-restore-mtime git-secret gitpkg glam2 glance-api globus-common-progs
    globus-gram-client-tools globus-gram-job-manager globus-gridftp-server-progs globus-gsi-cert-utils-progs
    globus-gss-assist-progs globus-proxy-utils globus-simple-ca gmerlin gmt gnokii-cli gnome-packagekit
    gnome-pkg-tools gnome-session-bin gnomint gnuchess gnuit gnupg gnuplot-nox gnupod-tools gnuserv gnustep-common
    golang-github-containers-common golang-github-containers-image golang-go gopchop gopher gosa-dev gpgsm gpgv gpiod
    gpm gpsd-clients grace grail-tools graphicsmagick-imagemagick-compat graphite-carbon graphviz grep greylistd
    grfcodec gridengine-common gridsite-clients grinder groff-base grokevt grokj2k-tools gsm-utils gsocket gssproxy
    gstreamer1.0-plugins-base-apps gstreamer1.0-tools gtk-sharp2-gapi guilt gunicorn gvpe gwenhywfar-tools gzip
    h5utils hackrf hash-slinger hashalot hashdeep haskell-devscripts-minimal hcxtools hdf4-tools hdf5-tools hdparm
    heat-cfntools heimdal-clients help2man herisvm hfsplus hfsutils hime-data hipercontracer hmmer hostapd hostname
    hplip hsqldb-utils html-xml-utils httest httpie hunspell-tools hunt hwloc hxtools hydra hylafax-client i2c-tools
    i8kutils ical2html icecc icnsutils icoutils icu-devtools id-utils idzebra-2.0-utils ifcico ifplugd ifupdown
    ifupdown-ng ifupdown2 ikiwiki-hosting-web im imagemagick-6.q16 imgvtopgm impose+ imv incron indent indigo-utils
    inetutils-tools infiniband-diags infnoise init-system-helpers initramfs-tools-core inn2 inotify-tools input-utils
    install-info integrit intel-cmt-cat interception-tools intltool inventor-clients iodine ioport iperf3 ipmctl
    ipmiutil iproute2 ipsvd iptables iptotal iputils-ping ipv6pref ipvsadm ipwatchd irker isc-dhcp-client
    isc-dhcp-server isenkram-cli isochron ispell itools ivtools-bin jabber-querybot jack-tools jackd1 jackd2 jailkit
    jalv janus-tools japitools javacc4 javacc5 javahelper jbigkit-bin jconvolver jekyll jetring jfsutils jgmenu
    jigdo-file jigit joe-jupp john jool-tools jose joystick jumpnbump jupyter-client jupyter-core jupyter-notebook
    jzip kafs-client kanif karma-tools kbd kcachegrind-converters kcapi-tools kconfig-frontends kernel-wedge
    kexec-tools keyman keyutils kgb-bot kissfft-tools kiwix-tools kma kmod knews knot-dnsutils konwert
    krb5-admin-server krb5-strength krb5-user ksh93u+m ksmbd-tools kwalletcli kwartz-client kylin-display-switch
    l2tpns labgrid ladspa-sdk laptop-mode-tools largetifftools latex-cjk-chinese lava-lxc-mocker lbdb lbzip2
    lcas-lcmaps-gt4-interface lcdproc lcmaps-plugins-voms lcov ld10k1 ldap-utils ldap2dns ldapscripts ldnsutils
    leafnode leaktracer ledgerhelpers ledmon lefse lei leptonica-progs lesana less libaa-bin liballegro4-dev
    libam7xxx0.1-bin libambix-utils libapache2-mod-qos libapi-gitforge-perl libarchive-tools libaudio-mpd-perl
    libavc1394-tools libavifile-0.7-bin libax25 libbash libbiblio-thesaurus-perl libbio-db-gff-perl
    libbio-db-ncbihelper-perl libbluray-bin libcam-pdf-perl libcap-ng-utils libcap2-bin libcdio-utils libcfitsio-bin
    libchm-bin libclipboard-perl libcoap3-bin libcomedi0 libcorkipset-utils libdbix-dbstag-perl libdbix-easy-perl
    libdca-utils libdevel-cover-perl libdirectfb-bin libdrm-dev libdsk-utils libdumbnet-dev libdv-bin libedje-bin
    libelixirfm-perl libevdev-tools libfabric-bin libfftw3-bin libflickr-api-perl libfreenect-bin libfyaml-utils
    libgd-tools libgdk-pixbuf2.0-bin libgfshare-bin libgit-annex-perl libglib2.0-dev-bin libgo-perl libgrilo-0.3-bin
    libgsf-bin libgsm-tools libgtk-3-bin libgts-bin libgxps-utils libhamlib-utils libheif-examples libhivex-bin
    libhugetlbfs-bin libid3-tools libiio-utils libiksemel-utils libimobiledevice-utils libinput-tools libiscsi-bin
    libjpeg-turbo-progs liblatex-driver-perl liblbfgsb-examples liblcm-bin liblcms2-utils liblemonldap-ng-common-perl
    liblensfun-bin liblouis-bin liblouisxml-bin libmail-dmarc-perl libmemcached-tools libmemkind-progs libmobi-tools
    libnbd-bin libncarg-bin libnet-amazon-s3-tools-perl libnfc-bin libnfs-utils libnl-utils libnvtt-bin
    libopenjp2-tools libopm-common-bin libosinfo-bin libotr5-bin libpam-abl libpam-modules libpam-mount-bin
    libpam-pkcs11 libpam-shield libpam-wrapper libpano13-bin libpcap0.8-dev libpod-pom-perl libpod-tree-perl
    libpodofo-utils libpwiz-tools libqmi-utils libquvi-scripts-0.9 libraw1394-tools librenaissance0-dev libruli-bin
    libsgml-dtdparse-perl libsimgrid-dev libsoldout-utils libsolv-tools libsvm-tools libsword-utils libtasn1-bin
    libteam-utils libtelnet-utils libterm-extendedcolor-perl libtext-pdf-perl libtext-recordparser-perl libtickit-dev
    libtool libtrace-tools libts0 libufo-bin liburdfdom-tools libuser libvcs-lite-perl libvips-tools libvirt-clients
    libvoikko-dev libvolk2-bin libvtkgdcm-tools libwiki-toolkit-perl libwmf-bin libwww-perl libwww-search-perl
    libxbase64-bin libxerces-c-samples libxkbcommon-tools libxml-compile-perl libxml-dt-perl libxml-tmx-perl
    libxml2-utils libyubikey-dev libzypp-config licenseutils lierolibre lilv-utils lintian lintian-brush linux-base
    linuxptp lirc live-build live-tools liwc lksctp-tools lldpad lldpd lltag llvm lm-sensors lmdb-utils lnpd
    lockfile-progs logapp login logtools lomiri-thumbnailer-service lowdown lpr lprint lptools lrslib lrzip lrzsz
    lsh-utils ltrace ltsp lttoolbox-dev lua5.4 luarocks lumpy-sv lvm2 lxdm lxpanel lxqt-session lxqt-sudo lxsession
    lz4 m4 mactelnet-client macutils magicrescue mah-jong mailcap mailfilter mailfront mailscripts make makepkg
    mako-notifier malaga-bin man-db mancala mandoc mandos-client manpages manpages-dev mapnik-utils mapproxy
    mapserver-bin maqview marco mariadb-client-core marisa mash matchbox-panel mate-tweak mathomatic-primes
    maven-debian-helper maven-repo-helper mblaze mcaller mcl mcrypt mcstrans mdadm mdbtools mdfinder.app mdk mdm mdnsd
    megatools mercurial-buildpackage merecat mescc-tools metapixel metis mew-beta-bin mew-bin mgdiff mgetty-pvftools
    mgt mha4mysql-manager mha4mysql-node microbiomeutil midicsv midish miio-tools mimedefang mingw-w64-tools minicom
    minicoredumper minidlna mipe mir-demos miredo mjpegtools mlmmj mmv mon monit mono-xsp4 montage-gridtools
    moosefs-chunkserver moreutils morse morse-simulator mosh mosquitto-clients mount mozilla-devscripts mp3blaster
    mp3splt mpb mpdtoys mpg123 mpgtx mpich mrb mrcal mrgingham mrtgutils msitools msmtp-mta mtbl-bin mtd-utils mtools
    mtp-tools mtr-tiny mtx multicat munge munin murasaki-common music-bin mutt-wizard myproxy mypy mysecureshell
    mysql-sandbox mythtv-status nacl-tools nagios-plugins-rabbitmq nala nano nas-bin nbd-server nbdkit-plugin-dev
    nbsdgames ncbi-epcr ncl-tools ncurses-bin ndctl ndisc6 net-tools netcat-openbsd netcdf-bin netctl netdiag netgen
    netpbm netperfmeter netpipes netplan.io netrw netscript-2.4 nettle-bin nfs-common nfs4-acl-tools nftables ngetty
    nifti-bin nilfs-tools njplot nocache node-cbor node-js-beautify node-sshpk nohang normalize-audio notmuch nq
    nsf-shells ntfs-3g ntpsec-ntpviz nullmailer num-utils numactl nvi nvme-cli nvptx-tools nvram-wakeup oar-server
    obexftp obsession octomap-tools oddjob odt2txt ofx oggz-tools ogmtools ogre-1.12-tools oidc-agent-cli oidentd ola
    omnievents omniorb onscripter opa-address-resolution opal-utils open-infrastructure-compute-tools
    open-infrastructure-storage-tools open-infrastructure-system-images open-isns-utils openbabel openbgpd
    openbox-lxde-session opencolorio-tools opencryptoki opendkim-tools opendmarc opendnssec-enforcer-mysql openems
    openexr opengnb openhpi-clients openiked openipmi openmpi-bin openntpd openobex-apps openqa-client openrc opensc
    openscap-utils openslide-tools opensmtpd-extras openssh-client openssh-server openssl openstack-pkg-tools
    openswitcher openvpn opus-tools organize osdlyrics osdsh osinfo-db-tools osmcoastline osmctools ostree otf-trace
    outguess ow-shell oz p11-kit pacemaker-cli-utils pads paexec paho.mqtt.c-examples pajeng papi-tools par2 parted
    partimage-server pass passt passwd passwdqc pastebinit patchutils pax pax-utils pbuilder pcaputils pciutils
    pcsc-tools pdb-tools pdb2pqr pdf-presenter-console pdsh pelican pen perdition perf-tools-unstable perforate
    performous-tools perftest perl pesign pev pfqueue pfstools pg-auto-failover-cli pglistener pgpainless-cli phipack
    php-cli php-pear php-sabre-dav picopore picosat pioneers pipexec piuparts-slave pius pixelmed-apps pkg-kde-tools
    pkg-perl-tools pkg-php-tools pkgconf plc-utils plocate plotutils plptools plymouth pm-utils pmccabe pmdk-tools
    pmtools pngcheck pngtools po-debconf poc-streamer pocketsphinx podman-docker policycoreutils
    policycoreutils-python-utils polkitd poppler-utils porg postal postfix-mta-sts-resolver postfix-policyd-spf-python
    postgis postgresql-common postgrey potool powercap-utils powerline powerman poxml ppp pppoe pps-tools pptpd
    presage presto primer3 prinseq-lite pristine-tar probcons-extra procinfo procmail procmeter3 procps
    profile-sync-daemon proj-bin psad pseudo pskc-utils pslist psmisc pssh pst-utils psutils ptscotch pulseaudio-utils
    puppet-agent pure-ftpd-common pvm pybtex pycoqc pyfai pykml pymca pyqt5-dev-tools pyspectral-bin python-odf-tools
    python-rdflib-tools python3-argcomplete python3-berrynet python3-btrfs python3-can python3-catkin-pkg
    python3-cheetah python3-clevercsv python3-cssutils python3-cvelib python3-dbg python3-dkim python3-ffcx
    python3-gfapy python3-grib python3-lttnganalyses python3-mido python3-mrcfile python3-mutagen python3-nwdiag
    python3-phonopy python3-pycdlib python3-pylatexenc python3-pynlpl python3-pyocd python3-pysnmp4-apps
    python3-pytest python3-rq python3-rsa python3-srt python3-stdeb python3-whisper python3-xmlschema pyzor qcat
    qdbm-util qemu-utils qfits-tools qhull-bin qla-tools qpdf quelcom quilt quorum quota quvi rabbitsign racc radiant
    radsecproxy rancid rasterlite2-bin razor rcm rcon rcs rdiff-backup reapr recap recommonmark-scripts recon-ng
    recoverjpeg redis-tools regina-rexx reglookup reiser4progs reiserfsprogs remaster-iso remind-tools remmina
    remote-tty renameutils renderd repeatmasker-recon reportbug reprepro rhash rhino rist-tools rlinetd rlpr rnahybrid
    roary roguenarok rplay-server rrdtool rsbackup rsh-redone-server rsh-server rsplib-services rsync rt-tests rtl-sdr
    rtmpdump rubber rubiks ruby ruby-build ruby-gettext ruby-graphviz ruby-rgfa ruby-sass ruby3.1 runit rush saint
    samba-common-bin samizdat samtools sane sane-utils sanoid sasl2-bin sbc-tools sbsigntool sbuild schroot scilab
    screen scriv scsitools sdf sdparm seccure secilc secure-delete sed segyio-bin selinux-basics selinux-utils
    semodule-utils sendfile sensible-utils sepol-utils seqan-needle setools sfeed sfst sg3-utils shadowsocks-libev
    shapelib sharutils shibboleth-sp-utils shishi shntool shorewall shtool siconos-mechanics-tools sidplay-base siege
    siggen signing-party sim4db similarity-tester simple-tpm-pk11 sinntp sip-tools sipvicious sisu-pdf sitesummary
    skktools slack slapd sleuthkit slick-greeter sloccount slony1-2-bin slurm-client smartmontools smbclient
    smbios-utils smcroute smiles-scripts smitools smp-utils sn snacc sndfile-programs sndio-tools snmp snmpsim
    snowdrop socat socklog sofia-sip-bin softhsm2 solid-pop3d sosreport source-highlight sox spatialite-bin spectools
    speech-tools spew spf-tools-python sphinxbase-utils spice-client-gtk splint sqlgrey sqlite3 squashfs-tools
    squashfs-tools-ng squidguard squizz srecord sreview-encoder srs srst2 ssh-agent-filter ssh-import-id ssh-tools
    ssmping ssmtp sssd-tools ssss staden-io-lib-utils starpu-tools statgrab stda stegosuite steptalk stilts stlcmd
    stlink-tools strace strongswan-pki stunnel4 stx2any subtle subversion suck suckless-tools sunpinyin-utils
    sunxi-tools sup sup-mail super supysonic surankco surfraw svn-buildpackage svtools sway-notification-center swift
    swish++ swtpm-tools sylph-searcher syrthes-tools sysconftool syslinux-utils syslog-ng-mod-slog sysstat systemd
    systemd-bootchart systemd-cron systemtap-runtime systraq sysvinit-core t1utils tablix2 talkd tang-common tar taskd
    tboot tcl8.6-doc tcpd tcpdump tcputils tcsh tdb-tools teem-apps telnetd-ssl tempest-for-eliza termdebug termrec
    tex-common texify tgt thinkfan tigervnc-common tigr-glimmer timewarrior tinydyndns tinysshd tirex tk8.6-doc tlog
    tlp tlswrapper tmux tnat64 todo.txt-base tofi tokyocabinet-bin tomoyo-tools topcom torsocks totalopenstation
    tourney-manager tpm-quote-tools tpm-tools trace-cmd traceroute transfuse translate-toolkit trash-cli trickle
    troffcvt ts-node tsdecrypt tshark tsocks tss2 ttf2ufm tth-common ttyrec tuned txt2man txt2pdbdoc u-boot-tools
    ubertooth ubuntu-dev-tools ucf ucimf ucommon-utils ucspi-tcp-ipv6 ucspi-unix udftools udiskie ufoai-tools uftp
    ui-auto uima-utils ukui-media-common ukui-power-manager ukui-settings-daemon-common umegaya uml-utilities umps3
    umview unhide unibetacode uniutils unixodbc unoconv unzip upower uptimed urlwatch uronode uruk usbguard usbutils
    usermode util-linux uw-mailutils vblade vcdimager vcftools vde2 vdeplug velvet-long veyon-service videotrans
    vim-addon-manager vim-common virt-p2v virtnbdbackup virtualenvwrapper vis vlc-bin vlock vmfs-tools vmfs6-tools
    vnlog vnstat voms-clients voms-clients-java vorbis-tools vpb-utils vpnc vtk-dicom-tools vtprint vtun w1retap w2do
    wapua watchdog wavpack wcslib-tools wdm weather-util webalizer webp wget whereami whichman whipper whois
    wide-dhcpv6-client wily wimtools wine wireguard-tools wireless-tools wireshark-common wl-clipboard wmanager
    wmclockmon wofi wordnet wpasupplicant wsl wv wvdial wxpython-tools x11-common x11-session-utils x11-utils
    x11-xfs-utils x11-xkb-utils x11-xserver-utils x2gobroker x2goserver x2gothinclient-management xa65 xautomation
    xawtv xbindkeys xclip xcowsay xdg-user-dirs xdg-utils xdp-tools xen-tools xen-utils-common xfonts-utils xfrisk
    xfsdump xfsprogs xgridfit xine-console xinetd xjdic xjokes xl2tpd xloadimage xml-security-c-utils xml-twig-tools
    xml2 xmlto xorg-docs-core xorriso xpa-tools xpdf xracer-tools xrootd-client xsltproc xstow xtables-addons-common
    xterm xutils-dev xwpe xxdiff-scripts xxhash xymon-client xz-utils yagiuda yambar yaskkserv yaz yodl yp-tools
    ypserv ytnef-tools yubikey-personalization z8530-utils2 zbd-utils zchunk zephyr-clients zim-tools zip
    zita-ajbridge zita-njbridge zmap zmk-doc zplug zsh zutils zvbi zziplib-bin
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
