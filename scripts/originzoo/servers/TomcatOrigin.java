import jakarta.servlet.http.*;
import java.io.IOException;
import java.util.*;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.coyote.http2.Http2Protocol;
import org.apache.tomcat.util.net.*;

/** Tomcat: PORT KEYSTORE IDLE-SECONDS FOLDER. */
public final class TomcatOrigin {
    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(args[3]);
        Connector connector = new Connector();
        connector.setPort(Integer.parseInt(args[0]));
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("keepAliveTimeout", args[2] + "000");
        connector.setProperty("SSLEnabled", "true");
        connector.setSecure(true);
        connector.setScheme("https");
        SSLHostConfig host = new SSLHostConfig();
        SSLHostConfigCertificate certificate = new SSLHostConfigCertificate(host, SSLHostConfigCertificate.Type.UNDEFINED);
        certificate.setCertificateKeystoreFile(args[1]);
        certificate.setCertificateKeystorePassword("sleight");
        host.addCertificate(certificate);
        connector.addSslHostConfig(host);
        Http2Protocol http2 = new Http2Protocol();
        http2.setKeepAliveTimeout(1000L * Integer.parseInt(args[2]));
        connector.addUpgradeProtocol(http2);
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", args[3]);
        Tomcat.addServlet(context, "forward", new HttpServlet() {
            @Override protected void service(HttpServletRequest q, HttpServletResponse s) throws IOException {
                byte[] body = Forward.read(q.getRequestURI(), q.getInputStream());
                List<String[]> sent = new ArrayList<>();
                for (String k : Collections.list(q.getHeaderNames()))
                    for (String v : Collections.list(q.getHeaders(k))) sent.add(new String[] {k, v});
                String target = q.getRequestURI() + (q.getQueryString() == null ? "" : "?" + q.getQueryString());
                try (Forward f = new Forward(q.getMethod(), target, sent, body)) {
                    s.setStatus(f.status);
                    for (String[] x : f.fields) s.addHeader(x[0], x[1]);
                    f.body.transferTo(s.getOutputStream());
                }
            }
        });
        context.addServletMappingDecoded("/", "forward");
        tomcat.start();
        tomcat.getServer().await();
    }
}
